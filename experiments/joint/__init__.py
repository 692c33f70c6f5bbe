"""The stage that trains the joint model, and what that model is worth."""
