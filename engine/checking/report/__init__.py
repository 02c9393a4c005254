"""The result of a check: as data, as a table, as a page, as a picture."""
