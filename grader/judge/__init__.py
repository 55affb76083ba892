"""The trusted side: runs an exercise's checks on the evidence that the sandbox brings back, and scores them."""
