"""What articles say about recurrent networks, measured: ``python -m benchmarks.studies.articles [CLAIM ...]``.

`flow` (gradients through time), `batches`, `training`, `sequences` hold the measurements, a function for each claim;
`claims` lists them; `docs/articles_measured.md` shows the figures.
"""
