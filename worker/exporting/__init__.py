"""A trained model -> smaller and faster ones that do as well."""
