"""The mathematics of preference: from judgments to pairs, how far people agree, what a pair costs. No files."""
