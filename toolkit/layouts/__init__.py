"""File layouts of other people, as far as several sources share them."""
