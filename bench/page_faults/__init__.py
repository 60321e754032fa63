"""Faults that the dashboard has to tell, by the kind of site that they are done to."""
