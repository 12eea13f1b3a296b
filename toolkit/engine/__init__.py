"""What a build is made of: the work cut into tasks, who does it, the journal, the way to the disk."""
