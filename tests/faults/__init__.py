"""What is kept when processes die, disks fill and databases are away."""
