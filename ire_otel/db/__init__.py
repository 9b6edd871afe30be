"""The database: tables, connections, migrations, and the store that writes rows. The only doorway to the drivers."""
