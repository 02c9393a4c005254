"""Right solutions of exercises in other styles; `test_exercises` has them judged."""
