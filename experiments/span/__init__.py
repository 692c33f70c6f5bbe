"""The stage that trains the reader `span`, and what that reader is worth."""
