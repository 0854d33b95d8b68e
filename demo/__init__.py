"""The page. Imports halo_vis (and with it torch) only inside handlers: the page is up before they are."""
