"""The eBPF programs, their loader, their maps and the packet sockets they filter."""
