"""Where photos come from and go to: folders and tables, local or any URI."""
