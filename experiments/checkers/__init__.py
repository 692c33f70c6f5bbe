"""The checkers of claims: learning, and measuring them beside trivial baselines."""
