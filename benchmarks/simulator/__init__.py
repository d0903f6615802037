"""The fast simulator beside others: speed, pictures, scores and memory."""
