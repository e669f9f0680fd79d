"""From an analysed query to merged candidates."""
