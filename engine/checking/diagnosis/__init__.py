"""How a wrong gradient departs, and the likely cause, in words."""
