"""What several tests share: slow references, random problems, small data sets."""
