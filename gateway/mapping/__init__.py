"""Messages of the services to and from what REST says, by resource."""
