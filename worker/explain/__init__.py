"""One verdict, rebuilt from the log and taken apart."""
