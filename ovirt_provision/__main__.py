"""`python -m ovirt_provision`: the same as the command `ovirt-provision`."""

from ovirt_provision.cli import main

if __name__ == "__main__":
    main()
