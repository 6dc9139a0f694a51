module mosaic.example

go 1.19
