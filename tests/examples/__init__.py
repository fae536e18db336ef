"""The examples, run with small stand-ins for the packages that they need."""
