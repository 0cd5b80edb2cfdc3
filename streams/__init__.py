"""The Kafka side: settings, event contract, Faust app, agents, tables, transport, command line."""
