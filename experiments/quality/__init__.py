"""The experiments about quality: our models beside baselines at their best, with fewer labels, and without each switch."""
