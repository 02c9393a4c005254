"""What a check found: as data, as a table, as a page, as a picture."""
