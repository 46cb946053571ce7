"""What a compilation needs of tuning: points of the space, and the database."""
