"""What every command needs: errors, files, the configuration, the run folder and the command line."""
