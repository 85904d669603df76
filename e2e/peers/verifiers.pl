# Verifies signed messages with Mail::DKIM. For each file one line, between tabs: name, "maildkim", what each signature came to.
use strict;
use warnings;
use Mail::DKIM::Verifier;
use Mail::DKIM::ARC::Verifier;
use Mail::DKIM::DNS;

my %zone;
open my $records, '<', '/samples/zone' or die "zone: $!";
while (<$records>) { chomp; my ($name, $record) = split / /, $_, 2; $zone{$name} = $record; }

{
  package Zone;
  use Net::DNS;
  sub new { bless {}, shift }
  sub send {
    my ($self, $name) = @_;
    my $packet = Net::DNS::Packet->new($name, 'TXT');
    my $record = $zone{$name} or return $packet;
    my @strings = $record =~ /(.{1,255})/g;
    $packet->push(answer => Net::DNS::RR->new(name => $name, type => 'TXT', txtdata => \@strings));
    return $packet;
  }
  sub errorstring { 'NOERROR' }
}
Mail::DKIM::DNS::resolver(Zone->new);

for my $file (@ARGV) {
  open my $handle, '<:raw', $file or die "$file: $!";
  my $text = do { local $/; <$handle> };
  (my $name = $file) =~ s{.*/|\.eml$}{}g;
  my $arc = $name =~ /^arc-/;
  my $verifier = $arc ? Mail::DKIM::ARC::Verifier->new : Mail::DKIM::Verifier->new;
  $verifier->PRINT($text);
  $verifier->CLOSE;
  my @found = $arc ? $verifier->result : map { $_->result } $verifier->signatures;
  print join("\t", $name, 'maildkim', join ' ', @found), "\n";
}
