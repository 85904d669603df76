# Reads notices with sisimai and Mail::DeliveryStatus::BounceParser. For each file and reader one line, between tabs:
# name, reader, then "recipient status action" for each recipient.
use strict;
use warnings;
use Sisimai;
use Mail::DeliveryStatus::BounceParser;

for my $file (@ARGV) {
  open my $handle, '<', $file or die "$file: $!";
  my $text = do { local $/; <$handle> };
  (my $name = $file) =~ s{.*/|\.eml$}{}g;
  $text =~ s/\r\n/\n/g;
  my $mailbox = "From MAILER-DAEMON Thu Jan  1 00:00:00 1970\n$text\n";
  my $found = Sisimai->make(\$mailbox, delivered => 1) // [];
  my @sisimai = map { join ' ', $_->recipient->address, $_->deliverystatus, $_->action } @$found;
  print join("\t", $name, 'sisimai', @sisimai), "\n";
  my $parser = Mail::DeliveryStatus::BounceParser->new($text);
  my @parsed = map { join ' ', map { $_ // '' } $_->get('email'), $_->get('status'), $_->get('action') } $parser->reports;
  print join("\t", $name, 'bounceparser', @parsed), "\n";
}
