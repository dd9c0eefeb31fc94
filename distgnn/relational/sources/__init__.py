"""Sources of databases, one file each; see :data:`distgnn.register.database_source`."""
