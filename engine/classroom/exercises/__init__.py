"""Exercises: a sheet with holes and visible tests to hand out, and hidden cases that judge what comes back.

`catalogue` lists them, `handing_out` writes the files for students, `checking_in` judges a file and writes the results;
`student` runs a student's code in a process of its own (`runner`), `hidden` holds the cases, `judging` and `words` say
what is right and what is wrong, `suspects` knows common mistakes by their numbers.
"""
