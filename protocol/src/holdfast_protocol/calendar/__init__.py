"""When something recurs: cron and RFC 5545 rules on local days, and the instants they come to in a zone. Pure."""
