"""The literate-programming tool of Folio: see book/01-reading-and-lit.md."""
