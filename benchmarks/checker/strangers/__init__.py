"""Forward and backward as strangers write them: `codes/` holds one a file, each with its check and four bugs.

A code has four sections: what a stranger wrote; ``# --- data``, the numbers to check it with; ``# --- check``, the glue
that one writes to have it checked, every line of it counted; ``# --- bugs``, one a line:
``#| right text ==> wrong text ## tensors, in which to look @ gate``.  All are written anew, in styles met in public
code.
"""
