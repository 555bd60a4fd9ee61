"""Views: pictures and pages drawn from what a run folder holds."""
