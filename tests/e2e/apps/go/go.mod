module sonde.test/goserver

go 1.19
