"""What an effects tree says: groups, facts behind sentences, tables, what figures show. No torch."""
