"""What `genir rag eval` is made of: arms, conditions, mitigations, readings, figures and drawings."""
