"""Towards Frequency-Based Explanation for Robust CNN (Wang et al., arXiv 2005.03141)."""
