"""What `jobs.bench --compare` holds the service against, each over the same snapshot, models and queries."""
