"""Workers on several machines: whole executions, in a queue of the database that they share."""
