//! May this MAIL or RCPT be accepted? Pure decisions over the settings.
