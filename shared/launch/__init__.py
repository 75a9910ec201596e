"""Starting both processes together and showing what they do."""
