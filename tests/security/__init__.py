"""TLS, SASL, ACLs and secrets, on real servers."""
