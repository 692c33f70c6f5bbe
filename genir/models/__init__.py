"""Models that read text and write identifiers (`genir.protocols.IdentifierModel`)."""
