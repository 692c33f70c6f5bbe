"""Documents -> identifiers: the schemes, the table that they fill, and its diagnostics."""
