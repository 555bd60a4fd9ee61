"""Looking at data: statistics, duplicates, digests, contact sheets."""
