"""Tasks on which papers compare recurrent networks, with the paper's figure beside ours."""
