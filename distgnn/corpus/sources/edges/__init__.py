"""Reader of edge tables: the formats in which networks are published, recognised by their content."""
